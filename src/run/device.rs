use std::fs::File;

use super::event::Observer;

/// Held while the machine is timed; released when dropped, or by the system when the process dies.
#[derive(Debug)]
pub(super) struct DeviceGuard(#[allow(dead_code)] Option<File>);

/// Takes this machine for a timing, whatever project asks: two timings at once would time each other.
/// Waits while another xp holds it. Where the system gives no lock, timing goes on without one.
pub(super) fn device_guard(observer: &dyn Observer) -> DeviceGuard {
    let path = std::env::temp_dir().join("xp-device-cpu.lock");
    let Ok(file) = File::options().create(true).truncate(false).write(true).open(&path) else {
        return DeviceGuard(None);
    };
    // Other users of the machine share the file; only its owner can open it up for them.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _ = file.set_permissions(std::fs::Permissions::from_mode(0o666));
    }
    match file.try_lock() {
        Ok(()) => DeviceGuard(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => {
            observer.warned("another xp is timing this machine: waiting for it");
            DeviceGuard(file.lock().is_ok().then_some(file))
        }
        Err(std::fs::TryLockError::Error(_)) => DeviceGuard(None),
    }
}
