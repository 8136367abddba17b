//! `query-reservations`: who holds what, beside the host that reserves.

use nvme_host::reservation::{acquire_command, register_command};
use nvme_spec::Status;
use nvme_spec::reservation::{ReservationType, acquire_action, register_action};
use serde_json::json;

use crate::Bench;

#[test]
fn a_reservation_is_shown_with_its_registrants() {
    let mut bench = Bench::start();
    let mut host = bench.host();
    let nobody = json!([{ "nsid": 1, "type": null, "generation": 0, "persists": false, "registrants": [] }]);
    assert_eq!(bench.peer.execute("query-reservations", &json!({})), Ok(nobody));
    let own = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0, 0, 0, 0, 0, 0, 0, 0x10];
    host.set_host_identifier(&own).expect("once");
    let register = register_command(1, register_action::REGISTER, false, 0);
    assert_eq!(host.register_key(register, 0, 0xfeed), Ok(Status::SUCCESS));
    let acquire = acquire_command(1, acquire_action::ACQUIRE, ReservationType::EXCLUSIVE_ACCESS_REGISTRANTS);
    assert_eq!(host.acquire_reservation(acquire, 0xfeed, 0), Ok(Status::SUCCESS));
    let mut registrant =
        json!({ "host": "0123456789abcdef0000000000000010", "key": 0xfeed, "holds": true, "controllers": [0] });
    let mut shown = json!({
        "nsid": 1, "type": "exclusive-access-registrants-only", "generation": 1, "persists": false,
        "registrants": [registrant],
    });
    assert_eq!(bench.peer.execute("query-reservations", &json!({})), Ok(json!([shown])));
    // The host goes; what it holds stays, and power takes it.
    host.start().expect("reset and enabled");
    registrant["controllers"] = json!([]);
    shown["registrants"] = json!([registrant]);
    assert_eq!(bench.peer.execute("query-reservations", &json!({})), Ok(json!([shown])));
    bench.peer.execute("power-cut", &json!({})).expect("a cut");
    bench.peer.execute("power-restore", &json!({})).expect("power");
    let gone = bench.peer.execute("query-reservations", &json!({})).expect("answered");
    assert_eq!((&gone[0]["type"], &gone[0]["registrants"]), (&json!(null), &json!([])));
}
