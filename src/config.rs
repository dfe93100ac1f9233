//! `dari.yaml`: parsed, interpolated, checked as a whole, and compiled.

mod build;
mod check;
pub mod compare;
pub mod faults;
mod fields;
mod files;
mod interpolate;
mod load;
pub mod model;
pub mod names;
mod parse;
mod place;
pub mod reference;
pub mod schema;
mod shown;
mod store_file;
mod suggest;

pub use faults::Faults;
pub use files::named_files;
pub use load::{load, load_with};
pub use model::*;
pub use store_file::store_path;
pub(crate) use suggest::nearest;
