//! What all sandboxes share: faults that can be switched on, a record of every call, a server on a free port.
