//! When the machine booted (kernel/time/timekeeping.c).

use crate::addr::Va;
use crate::object::{Nanoseconds, Types, kernel_struct};
use crate::session::{Error, Session};
use quaid_profile::Type;

kernel_struct! {
    /// The clocks.
    struct Timekeeper(TimekeeperLayout) = "timekeeper" {
        /// From the monotonic clock to the wall clock.
        offs_real: Nanoseconds = "offs_real",
        /// From the monotonic clock to the one that counts sleep.
        offs_boot: Nanoseconds = "offs_boot",
    }
}

/// The wall clock's time of the boot, in nanoseconds since 1970, as the kernel's `getboottime64` computes it.
pub(crate) fn boot_time(s: &Session<'_>) -> Result<i64, Error> {
    let timekeeper = s.object::<Timekeeper>(address(s)?)?;
    let read = || Ok(timekeeper.offs_real()?.0.saturating_sub(timekeeper.offs_boot()?.0));
    read().map_err(|fault| Error::Fault { what: "the boot time".to_owned(), fault })
}

/// The timekeeper. It is inside `tk_core` since 3.17; before, and in the copy that kernels up to 6.12 keep, it is a
/// variable of its own. Since 6.17 `timekeeper_data` holds several, that of the machine first.
fn address(s: &Session<'_>) -> Result<Va, Error> {
    let types = Types::new(s.profile());
    for outer in ["tk_core", "timekeeper_data"] {
        let Some(at) = s.symbol_if_any(outer)? else { continue };
        let holder = match s.profile().constant_type(outer)? {
            Some(Type::Named(name)) => name,
            Some(Type::Array { target, .. }) => match *target {
                Type::Named(name) => name,
                _ => continue,
            },
            // `struct tk_data` since 6.13; before, the struct has no name.
            _ => "tk_data".to_owned(),
        };
        if let Some(place) = types.find(&holder, "timekeeper")? {
            return Ok(at.wrapping_add(place.offset));
        }
    }
    for own in ["timekeeper", "shadow_timekeeper"] {
        if let Some(at) = s.symbol_if_any(own)? {
            return Ok(at);
        }
    }
    Err(Error::NoSymbol {
        name: "tk_core (with its type), timekeeper or shadow_timekeeper".to_owned(),
        profile: s.profile_name().to_owned(),
    })
}
