//! `dari schema`: the JSON Schema of the config, for editors, and the reference of its keys, for people.

use super::{Result, output};
use crate::{config, connectors};

/// Prints the JSON Schema of dari.yaml.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct SchemaArgs {
    /// All keys with what they mean, as Markdown, instead
    #[arg(long)]
    pub reference: bool,
}

/// `dari schema`.
///
/// # Errors
/// Standard output cannot be written.
pub fn schema(args: SchemaArgs) -> Result {
    if args.reference {
        return output::line(config::reference::reference(connectors::ALL).trim_end());
    }
    output::json(&config::schema::schema(connectors::ALL))
}
