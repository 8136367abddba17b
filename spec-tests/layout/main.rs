//! Golden layouts: offsets, bits and codes typed by hand from the figures of NVMe Base 2.1 and NVM Command Set 1.1, not from the
//! code. A structure of `nvme-spec` that gains a field does not compile here until the figure has been looked up.

mod codes;
mod identify;
mod log;
mod queue_entry;
mod register;
mod reservation;
mod sgl;
