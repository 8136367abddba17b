//! A campaign as JUnit. Names of test cases do not change from run to run; the seed is a property of the suite.

use media::Nanoseconds;
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

/// The test cases of a campaign.
pub struct Suite(TestSuite);

impl Suite {
    /// A campaign of a seed that took so long.
    pub fn new(name: &str, seed: u64, time: Nanoseconds) -> Self {
        let mut suite = TestSuite::new(name);
        suite.set_time(std::time::Duration::from_nanos(time.0));
        suite.add_property(Property::new("seed", seed.to_string()));
        Self(suite)
    }

    /// A case that held.
    pub fn passed(&mut self, class: &str, name: &str) {
        self.add(class, name, TestCaseStatus::success());
    }

    /// A case that was not tried.
    pub fn skipped(&mut self, class: &str, name: &str) {
        self.add(class, name, TestCaseStatus::skipped());
    }

    /// A case that did not hold, in a line and, where there is more to say, in many.
    pub fn failed(&mut self, class: &str, name: &str, message: &str, details: Option<&str>) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(message);
        if let Some(details) = details {
            status.set_description(details);
        }
        self.add(class, name, status);
    }

    fn add(&mut self, class: &str, name: &str, status: TestCaseStatus) {
        let mut case = TestCase::new(name, status);
        case.set_classname(class);
        self.0.add_test_case(case);
    }

    /// The file's content.
    pub fn xml(self) -> String {
        let mut report = Report::new("brownout");
        report.add_test_suite(self.0);
        report.to_string().expect("text is written to memory")
    }
}

/// What the file says until there is more to say.
pub fn unfinished() -> String {
    let mut suite = Suite::new("crash", 0, Nanoseconds(0));
    suite.failed("campaign", "end", "the campaign did not end", None);
    suite.xml()
}
