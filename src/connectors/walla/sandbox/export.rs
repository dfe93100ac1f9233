//! All responses as Parquet, as `response/list` gives them. The page says nothing of its columns: those of `/columns`,
//! what a response says of itself beside them, choices as JSON text.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

use super::{Form, Shared, Stored};

/// How many rows a group has.
const GROUP: usize = 500;

/// `GET …/response/list`.
pub(super) async fn list(State(shared): State<Shared>) -> Response {
    match written(&shared.form()) {
        Ok(file) => ([(CONTENT_TYPE, "application/octet-stream")], file).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn written(form: &Form) -> Result<Vec<u8>> {
    let columns: Vec<&str> = form.questions.iter().map(|question| question.column.as_str()).collect();
    let texts: Vec<String> = columns.iter().map(|column| format!("OPTIONAL BYTE_ARRAY {column} (UTF8);")).collect();
    let texts = texts.join(" ");
    let schema = format!(
        "message responses {{ REQUIRED BYTE_ARRAY responseKey (UTF8); OPTIONAL BYTE_ARRAY customerKey (UTF8); \
         REQUIRED INT64 submittedAt (TIMESTAMP_MILLIS); {texts} }}"
    );
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer =
        SerializedFileWriter::new(Vec::new(), Arc::new(parse_message_type(&schema)?), Arc::new(properties))?;
    for group in form.newest().chunks(GROUP) {
        let mut rows = writer.next_row_group()?;
        required(&mut rows, group.iter().map(|r| r.id.as_str()))?;
        optional(&mut rows, group.iter().map(|r| r.customer_key.clone()))?;
        times(&mut rows, group)?;
        for column in &columns {
            optional(&mut rows, group.iter().map(|r| r.answers.get(*column).and_then(text)))?;
        }
        rows.close()?;
    }
    writer.into_inner()
}

type Rows<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

fn required<'a>(rows: &mut Rows<'_>, texts: impl Iterator<Item = &'a str>) -> Result<()> {
    let values: Vec<ByteArray> = texts.map(ByteArray::from).collect();
    let Some(mut column) = rows.next_column()? else { return Ok(()) };
    column.typed::<ByteArrayType>().write_batch(&values, None, None)?;
    column.close()
}

fn optional(rows: &mut Rows<'_>, texts: impl Iterator<Item = Option<String>>) -> Result<()> {
    let texts: Vec<Option<String>> = texts.collect();
    let levels: Vec<i16> = texts.iter().map(|text| i16::from(text.is_some())).collect();
    let values: Vec<ByteArray> = texts.into_iter().flatten().map(|text| ByteArray::from(text.into_bytes())).collect();
    let Some(mut column) = rows.next_column()? else { return Ok(()) };
    column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
    column.close()
}

fn times(rows: &mut Rows<'_>, group: &[&Stored]) -> Result<()> {
    let values: Vec<i64> = group.iter().map(|r| r.submitted_at.as_millisecond()).collect();
    let Some(mut column) = rows.next_column()? else { return Ok(()) };
    column.typed::<Int64Type>().write_batch(&values, None, None)?;
    column.close()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
