//! The labels of a form's questions, read now and then, and anew where a response has a column that they lack.

use std::collections::BTreeSet;

use super::client::Api;
use super::questions::Questions;
use super::response::Response;
use crate::connectors::PollError;
use crate::event::{NewEvent, Payload, Version};

/// After how many uses the labels are read again.
const USES: u32 = 60;

/// The labels as they were last read.
#[derive(Default)]
pub(super) struct Labels {
    questions: Option<Questions>,
    /// Uses since then.
    age: u32,
    /// Columns that have no label even so.
    unknown: BTreeSet<String>,
}

impl Labels {
    /// Reads them if they are old.
    pub(super) async fn refresh(&mut self, api: &Api) -> Result<(), PollError> {
        self.age += 1;
        if self.questions.is_none() || self.age > USES {
            self.read(api).await?;
        }
        Ok(())
    }

    async fn read(&mut self, api: &Api) -> Result<(), PollError> {
        *self = Self { questions: Some(api.questions().await?), ..Self::default() };
        Ok(())
    }

    /// The questions, read anew if the responses have a column that is not among them and was not missed before.
    pub(super) async fn of<'r>(
        &mut self,
        api: &Api,
        responses: impl Iterator<Item = &'r Response> + Clone,
    ) -> Result<&Questions, PollError> {
        if !self.missed(responses.clone()).is_subset(&self.unknown) {
            self.read(api).await?;
            self.unknown = self.missed(responses);
        }
        Ok(self.questions.get_or_insert_default())
    }

    fn missed<'r>(&self, responses: impl Iterator<Item = &'r Response>) -> BTreeSet<String> {
        let Some(known) = &self.questions else { return BTreeSet::new() };
        responses.flat_map(|response| response.unknown(known)).map(str::to_owned).collect()
    }
}

/// An event about a response, with its answers by label and by column.
///
/// # Errors
/// [`PollError::Stop`] where two of its questions have one label.
pub(super) fn event(kind: &str, id: String, response: &Response, questions: &Questions) -> Result<NewEvent, PollError> {
    let data = response.data(questions).map_err(PollError::stop)?;
    let mut event = NewEvent::new(kind, Payload::from_value(&data));
    event.id = Some(id);
    event.subject = Some(response.id.clone());
    event.time = Some(response.submitted);
    event.version = response.updated.map(Version::Instant);
    Ok(event)
}
