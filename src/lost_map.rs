//! A file that is mapped and cannot be read: where it was cut short meanwhile, or its disk or network fails, the system
//! sends SIGBUS, which ends the process without a word.

/// Has the process say why it ends. Elsewhere than on Linux the signal may be of a stack that overflowed, which Rust tells.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a signal handler can only be installed by a call that the compiler cannot check")]
pub(crate) fn tell() {
    extern "C" fn lost(_: libc::c_int) {
        const WHY: &str = "error: a file was cut short while it was read, or its disk or network fails; if it is the image, \
                           `--no_map` before the command reads it piece by piece, and tells what cannot be read\n";
        // SAFETY: both calls are safe in a handler (signal-safety(7)); the text lives as long as the process.
        unsafe {
            libc::write(libc::STDERR_FILENO, WHY.as_ptr().cast(), WHY.len());
            libc::_exit(1);
        }
    }
    let handler: extern "C" fn(libc::c_int) = lost;
    // SAFETY: the handler calls nothing but what a handler may call, and does not return.
    unsafe { libc::signal(libc::SIGBUS, handler as libc::sighandler_t) };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn tell() {}
