//! The block device for virtual machine monitors that know no vfio-user, over its real socket: rust-vmm's own front end as an
//! independent client, and rings that the tests write by hand.

mod device;
mod driver;
mod hostile;
mod power;
mod reconnect;
mod requests;
mod resize;
