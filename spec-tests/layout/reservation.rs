//! Reservations (Base 2.3 sections 7.5 to 7.8, and the notification log).

use nvme_spec::reservation::{
    ACTION, AcquireData, EXTENDED, ExtendedRegistrant, ExtendedStatus, IGNORE_KEY, NO_CONTROLLER, NotificationPage,
    PERSISTENCE_CLEARED, PERSISTENCE_KEPT, PERSISTENCE_SET, RegisterData, Registrant, ReleaseData, ReservationStatus,
    ReservationType, STATUS_HOLDS, acquire_action, notification, register_action, release_action,
};
use spec_tests::fields_at;

#[test]
fn the_data_of_commands_lies_as_its_figures_say() {
    fields_at!(RegisterData, 16 bytes, { crkey: 0, 8; nrkey: 8, 8; }, reserved {});
    fields_at!(AcquireData, 16 bytes, { crkey: 0, 8; prkey: 8, 8; }, reserved {});
    fields_at!(ReleaseData, 8 bytes, { crkey: 0, 8; }, reserved {});
}

#[test]
fn a_report_lies_as_its_figures_say() {
    fields_at!(ReservationStatus, 24 bytes, {
        generation: 0, 4;
        rtype: 4, 1;
        registrants: 5, 2;
        ptpls: 9, 1;
    }, reserved { reserved_7, reserved_10 });
    fields_at!(ExtendedStatus, 64 bytes, { status: 0, 24; }, reserved { reserved_24 });
    fields_at!(Registrant, 24 bytes, { cntlid: 0, 2; rcsts: 2, 1; hostid: 8, 8; rkey: 16, 8; }, reserved { reserved_3 });
    fields_at!(ExtendedRegistrant, 64 bytes, {
        cntlid: 0, 2;
        rcsts: 2, 1;
        rkey: 8, 8;
        hostid: 16, 16;
    }, reserved { reserved_3, reserved_32 });
    assert_eq!((NO_CONTROLLER, STATUS_HOLDS), (0xfffd, 1));
}

#[test]
fn the_notification_log_lies_as_its_figure_says() {
    fields_at!(NotificationPage, 64 bytes, {
        count: 0, 8;
        kind: 8, 1;
        left: 9, 1;
        nsid: 12, 4;
    }, reserved { reserved_10, reserved_16 });
    let kinds = [notification::NONE, notification::REGISTRATION_PREEMPTED, notification::RELEASED];
    assert_eq!((kinds, notification::RESERVATION_PREEMPTED), ([0, 1, 2], 3));
}

#[test]
fn actions_and_types_have_their_numbers() {
    assert_eq!([register_action::REGISTER, register_action::UNREGISTER, register_action::REPLACE], [0, 1, 2]);
    assert_eq!([acquire_action::ACQUIRE, acquire_action::PREEMPT, acquire_action::PREEMPT_AND_ABORT], [0, 1, 2]);
    assert_eq!([release_action::RELEASE, release_action::CLEAR], [0, 1]);
    assert_eq!([PERSISTENCE_KEPT, PERSISTENCE_CLEARED, PERSISTENCE_SET], [0, 2, 3]);
    assert_eq!((ACTION, IGNORE_KEY, EXTENDED), (0b111, 0b1000, 1));
    let types = [
        ReservationType::WRITE_EXCLUSIVE,
        ReservationType::EXCLUSIVE_ACCESS,
        ReservationType::WRITE_EXCLUSIVE_REGISTRANTS,
        ReservationType::EXCLUSIVE_ACCESS_REGISTRANTS,
        ReservationType::WRITE_EXCLUSIVE_ALL,
        ReservationType::EXCLUSIVE_ACCESS_ALL,
    ];
    assert_eq!(types.map(|rtype| rtype.0), [1, 2, 3, 4, 5, 6]);
}
