//! Lists of things that have a name outside of this program.

/// Defines an enumeration from a list of variants with their names: `ALL` has them in order, and `name` says what each is called.
#[macro_export]
macro_rules! named {
    ($(#[$attribute:meta])+ $list:ident: $($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        $(#[$attribute])+
        pub enum $list {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $list {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// What it is called outside.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it is, in words: its documentation.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc,)+),)+
                }
            }
        }
    };
}
