//! Filters of the engine that let through what no record should have: a missing item as nothing, `null` as the word
//! `none`, an indent of a gigabyte.

use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};

use super::value;

/// The largest number that a filter takes for a width or a count: the engine reserves that much at once.
const MAX_COUNT: u64 = 10_000;

/// The engine's own filters, under names that no template can use.
const JOIN: &str = "_join";
const SUM: &str = "_sum";
const MAP: &str = "_map";
const INDENT: &str = "_indent";
const BATCH: &str = "_batch";
const SLICE: &str = "_slice";
const TOJSON: &str = "_tojson";

/// Puts the filters in place of the engine's.
pub(super) fn add_to(engine: &mut Environment<'static>) {
    use minijinja::filters;
    engine.add_filter(JOIN, filters::join);
    engine.add_filter(SUM, filters::sum);
    engine.add_filter(MAP, filters::map);
    engine.add_filter(INDENT, filters::indent);
    engine.add_filter(BATCH, filters::batch);
    engine.add_filter(SLICE, filters::slice);
    engine.add_filter(TOJSON, filters::tojson);
    engine.add_filter("join", join);
    engine.add_filter("sum", sum);
    engine.add_filter("map", map);
    engine.add_filter("indent", |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| bounded(state, INDENT, args));
    engine.add_filter("batch", |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| bounded(state, BATCH, args));
    engine.add_filter("slice", |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| bounded(state, SLICE, args));
    engine.add_filter("tojson", |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| bounded(state, TOJSON, args));
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that the engine asks for")]
fn join(
    state: &mut State<'_, '_>,
    list: &Value,
    joiner: Option<Value>,
    attribute: Option<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let joiner = joiner.map_or_else(|| named.get::<Option<Value>>("d"), |joiner| Ok(Some(joiner)))?;
    let attribute = attribute.map_or_else(|| named.get::<Option<Value>>("attribute"), |name| Ok(Some(name)))?;
    named.assert_all_used()?;
    let items = items(state, list, attribute)?;
    if items.iter().any(Value::is_none) {
        return Err(Error::new(ErrorKind::InvalidOperation, value::NULL_IN_TEXT));
    }
    state.apply_filter(JOIN, &[Value::from(items), joiner.unwrap_or_else(|| Value::from(""))])
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that the engine asks for")]
fn sum(
    state: &mut State<'_, '_>,
    list: &Value,
    attribute: Option<Value>,
    start: Option<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let attribute = attribute.map_or_else(|| named.get::<Option<Value>>("attribute"), |name| Ok(Some(name)))?;
    let start = start.map_or_else(|| named.get::<Option<Value>>("start"), |start| Ok(Some(start)))?;
    named.assert_all_used()?;
    let items = Value::from(items(state, list, attribute)?);
    state.apply_filter(SUM, &[items, Value::from(()), start.unwrap_or_else(|| Value::from(0))])
}

fn map(state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let list = state.apply_filter(MAP, &args.into_values())?;
    items(state, &list, None).map(Value::from)
}

/// The items of a list, or what each has under a name; all of them there.
fn items(state: &mut State<'_, '_>, list: &Value, attribute: Option<Value>) -> Result<Vec<Value>, Error> {
    if list.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let mut items: Vec<Value> = list.try_iter()?.collect();
    if let Some(name) = attribute.filter(|name| !name.is_none()) {
        let named: Kwargs = [("attribute", name)].into_iter().collect();
        let found = state.apply_filter(MAP, &[Value::from(items), Value::from(named)])?;
        items = found.try_iter()?.collect();
    }
    match items.iter().position(Value::is_undefined) {
        None => Ok(items),
        Some(at) => Err(Error::new(ErrorKind::UndefinedError, format!("item {at} of a list is undefined"))),
    }
}

/// One of the filters whose second argument is a width or a count.
fn bounded(state: &mut State<'_, '_>, filter: &str, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = args.into_values();
    let large = |value: &Value| {
        value.kind() == ValueKind::Number && !u64::try_from(value.clone()).is_ok_and(|n| n <= MAX_COUNT)
    };
    let second = args.get(1);
    let named = args.last().filter(|value| value.is_kwargs());
    let named_large = match named {
        Some(named) => named.try_iter()?.any(|key| named.get_item(&key).is_ok_and(|value| large(&value))),
        None => false,
    };
    if second.is_some_and(large) || named_large {
        let message = format!("a number above {MAX_COUNT} is no width or count");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    state.apply_filter(filter, &args)
}
