//! A driver's own test suite, in its shortest form. `Driver` stands for the code on trial: it knows nothing of brownout, only registers
//! that are read and written, and memory that both sides see. The adapter is [`Port`]; everything else is the driver's.
//!
//! `cargo run --example driver_test` runs the tests; in a project of your own they are `#[test]`s.

use brownout::{Cut, Machine, MachineOptions, Port};

/// The driver on trial: admin queues of eight entries, one command at a time, polled.
struct Driver<P> {
    device: P,
    tail: u32,
    head: u32,
    phase: bool,
}

const SUBMISSION: u64 = 0x10_0000;
const COMPLETION: u64 = 0x10_1000;
const BUFFER: u64 = 0x10_2000;
const ENTRIES: u32 = 8;

impl<P: Port> Driver<P> {
    /// Enables the controller; says why that did not work.
    fn attach(mut device: P) -> Result<Self, &'static str> {
        device.register_write_32(0x14, 0);
        device.memory_write(COMPLETION, &[0; 4096]);
        device.register_write_32(0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1));
        device.register_write_64(0x28, SUBMISSION);
        device.register_write_64(0x30, COMPLETION);
        device.register_write_32(0x14, 4 << 20 | 6 << 16 | 1);
        for _ in 0..1000 {
            match device.register_read_32(0x1c) {
                0xffff_ffff => return Err("no device"),
                status if status & 2 != 0 => return Err("fatal status"),
                status if status & 1 != 0 => return Ok(Self { device, tail: 0, head: 0, phase: true }),
                _ => device.relax(),
            };
        }
        Err("not ready in time")
    }

    /// Identify Controller, whole.
    fn identify(&mut self) -> Result<[u8; 4096], u16> {
        let mut command = [0; 64];
        command[0] = 0x06;
        command[24..32].copy_from_slice(&BUFFER.to_le_bytes());
        command[40] = 0x01;
        self.device.memory_write(SUBMISSION + u64::from(self.tail) * 64, &command);
        self.tail = (self.tail + 1) % ENTRIES;
        self.device.register_write_32(0x1000, self.tail);
        let status = self.completed();
        let mut data = [0; 4096];
        self.device.memory_read(BUFFER, &mut data);
        if status == 0 { Ok(data) } else { Err(status) }
    }

    /// Waits for the next completion and gives its entry back; its status.
    fn completed(&mut self) -> u16 {
        let mut status = [0; 2];
        for _ in 0..1000 {
            self.device.memory_read(COMPLETION + u64::from(self.head) * 16 + 14, &mut status);
            if (status[0] & 1 != 0) == self.phase {
                self.head = (self.head + 1) % ENTRIES;
                self.phase ^= self.head == 0;
                self.device.register_write_32(0x1004, self.head);
                return u16::from_le_bytes(status) >> 1;
            }
            self.device.relax();
        }
        u16::MAX
    }
}

fn machine() -> Machine {
    Machine::new(&MachineOptions::default()).expect("the default options make a machine")
}

#[cfg_attr(test, test)]
fn the_driver_finds_the_drive() {
    let mut driver = Driver::attach(machine()).expect("attached");
    // More commands than the queues have entries, so that both of them wrap.
    for _ in 0..20 {
        let controller = driver.identify().expect("identified");
        assert!(controller[24..64].starts_with(b"brownout"), "{:?}", &controller[24..64]);
    }
}

#[cfg_attr(test, test)]
fn the_driver_notices_that_the_power_is_gone() {
    let mut driver = Driver::attach(machine()).expect("attached");
    driver.device.cut_power(&Cut::default());
    assert_eq!(Driver::attach(&mut driver.device).err(), Some("no device"));

    driver.device.restore_power(None).expect("the drive recovers");
    Driver::attach(driver.device).expect("attached again").identify().expect("identified");
}

fn main() {
    the_driver_finds_the_drive();
    the_driver_notices_that_the_power_is_gone();
    println!("the driver passed");
}
