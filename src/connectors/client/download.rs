//! Answers that are longer than memory should hold.

use http::StatusCode;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::{Client, MAX_ANSWER, SendError, failed};
use crate::connectors::{Answer, Call};

impl Client {
    /// Sends a call and writes the body of a 200 into a file as it comes; the [`Answer`] then has none. Of any other
    /// answer it has at most [`MAX_ANSWER`] bytes, and nothing is written. A meter counts it as one call.
    ///
    /// # Errors
    /// [`SendError`], also if the body has more than `most` bytes or the file cannot be written.
    pub async fn download(&self, call: &Call, into: &mut File, most: u64) -> Result<Answer, SendError> {
        let Some(meter) = &self.meter else { return self.kept(call, into, most).await };
        let admitted = meter.admit().await.map_err(SendError::NotSent)?;
        let sent = self.kept(call, into, most).await;
        if matches!(sent, Err(SendError::NotSent(_))) {
            meter.refund(&admitted).await;
        }
        sent
    }

    async fn kept(&self, call: &Call, into: &mut File, most: u64) -> Result<Answer, SendError> {
        let mut response = self.request(call)?.send().await.map_err(|error| failed(call, &error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let unwritten = |error: std::io::Error| SendError::NoAnswer(format!("the answer cannot be kept: {error}"));
        let (mut body, mut length) = (Vec::new(), 0_u64);
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(call, &error))? {
            length += chunk.len() as u64;
            if status != StatusCode::OK {
                body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - body.len())]);
                if body.len() == MAX_ANSWER {
                    break;
                }
            } else if length > most {
                return Err(SendError::NoAnswer(format!("the answer is longer than {most} bytes")));
            } else {
                into.write_all(&chunk).await.map_err(unwritten)?;
            }
        }
        into.flush().await.map_err(unwritten)?;
        Ok(Answer { status, headers, body: body.into() })
    }
}
