//! The entry point of the program, and what rustix does not offer without the standard library.
//!
//! Together with [`memory`](super::memory), this is all unsafe code of the loader.
#![expect(unsafe_code, reason = "a program without a C library has to do this itself")]

use core::arch::{asm, naked_asm};
use core::ffi::{CStr, c_char};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::io::Errno;

use super::{Exit, run};

/// `AT_EMPTY_PATH`: executes the file descriptor itself.
const EMPTY_PATH: usize = 0x1000;

#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const EXECVEAT: usize = 322;
    pub(super) const EXIT_GROUP: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const EXECVEAT: usize = 281;
    pub(super) const EXIT_GROUP: usize = 94;
}

/// Arguments and environment, as the kernel has put them on the stack. They stay there while the program runs.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    arguments: *const *const c_char,
    environment: *const *const c_char,
}

impl Start {
    /// Returns the folder for temporary files.
    pub(crate) fn folder(&self) -> &'static CStr {
        const NAME: &[u8] = b"TMPDIR=";
        let mut variable = self.environment;
        loop {
            // SAFETY: `variable` is in the list, because the list ends with a null pointer and the loop ends there.
            let text = unsafe { *variable };
            if text.is_null() {
                return c"/tmp";
            }
            // SAFETY: every pointer of the list but the last is to a string that ends with a zero, and nobody
            // changes these strings.
            let text: &'static CStr = unsafe { CStr::from_ptr(text) };
            match text.to_bytes_with_nul().strip_prefix(NAME).map(CStr::from_bytes_with_nul) {
                Some(Ok(folder)) if !folder.is_empty() => return folder,
                Some(_) | None => {}
            }
            // SAFETY: this was not the last pointer of the list.
            variable = unsafe { variable.add(1) };
        }
    }
}

/// The first instructions. They hand over the address of the stack, where the kernel has put the arguments.
#[unsafe(naked)]
// SAFETY: the linker looks for this name, and there is no C library that has it too.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {main}", "ud2", main = sym main);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "b {main}", main = sym main);
}

extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: the kernel starts a program with the count of its arguments on the stack.
    let count = unsafe { *stack };
    // SAFETY: the list of arguments follows.
    let arguments = unsafe { stack.add(1) };
    // SAFETY: a null pointer ends the list of arguments, and the list of variables follows.
    let environment = unsafe { arguments.add(count.saturating_add(1)) };
    exit(run(Start { arguments: arguments.cast(), environment: environment.cast() }))
}

/// Replaces this program by the one in a file, with the same arguments and environment. Returns only if that fails.
pub(crate) fn execute(file: &impl AsFd, start: Start) -> Errno {
    let path = c"";
    let file = file.as_fd().as_raw_fd();
    let lists = [start.arguments, start.environment].map(|list| list as usize);
    // SAFETY: the path ends with a zero, and the kernel itself has made the lists.
    let result = unsafe {
        syscall(number::EXECVEAT, [file as usize, path.as_ptr() as usize, lists[0], lists[1], EMPTY_PATH])
    };
    Errno::from_raw_os_error(i32::try_from(result.unsigned_abs()).unwrap_or_default())
}

/// Ends the program.
pub(crate) fn exit(code: Exit) -> ! {
    loop {
        // SAFETY: the call has no pointers, and it does not return.
        unsafe { syscall(number::EXIT_GROUP, [code as usize, 0, 0, 0, 0]) };
    }
}

/// Returns standard error.
pub(crate) fn stderr() -> BorrowedFd<'static> {
    // SAFETY: the loader never closes it. If it was closed before the start, writing to it fails.
    unsafe { rustix::stdio::stderr() }
}

/// Calls the kernel.
///
/// # Safety
/// As of the call.
unsafe fn syscall(number: usize, arguments: [usize; 5]) -> isize {
    let [first, second, third, fourth, fifth] = arguments;
    let result;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: these are the registers of a system call. The kernel changes no others.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") first, in("rsi") second, in("rdx") third, in("r10") fourth, in("r8") fifth,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: these are the registers of a system call. The kernel changes no others.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") first => result,
            in("x1") second, in("x2") third, in("x3") fourth, in("x4") fifth,
            options(nostack),
        );
    }
    result
}
