//! The functions on memory that the compiler calls, and that a C library has otherwise.
//!
//! They access memory byte by byte and volatile: the compiler would turn any other loop into a call of the function
//! itself. Inflating does not use them for the content of the agent, so their speed does not matter.
#![expect(unsafe_code, reason = "their arguments are pointers")]

/// Copies bytes between places that do not overlap.
///
/// # Safety
/// As in C.
// SAFETY: the function is the one that its name promises.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: both places have `count` bytes.
        unsafe { copy(to, from, index) };
    }
    to
}

/// Copies bytes between places that may overlap.
///
/// # Safety
/// As in C.
// SAFETY: the function is the one that its name promises.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr() <= from.addr() {
        for index in 0..count {
            // SAFETY: both places have `count` bytes. Bytes before `index` are not read any more.
            unsafe { copy(to, from, index) };
        }
    } else {
        for index in (0..count).rev() {
            // SAFETY: both places have `count` bytes. Bytes after `index` are not read any more.
            unsafe { copy(to, from, index) };
        }
    }
    to
}

/// Sets bytes to a value.
///
/// # Safety
/// As in C.
// SAFETY: the function is the one that its name promises.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the place has `count` bytes.
        let place = unsafe { to.add(index) };
        // SAFETY: the place may be written.
        unsafe { place.write_volatile(value as u8) };
    }
    to
}

/// Compares bytes.
///
/// # Safety
/// As in C.
// SAFETY: the function is the one that its name promises.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: the place has `count` bytes.
        let left = unsafe { read(left, index) };
        // SAFETY: the place has `count` bytes.
        let right = unsafe { read(right, index) };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
    }
    0
}

/// Compares bytes for equality.
///
/// # Safety
/// As in C.
// SAFETY: the function is the one that its name promises.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: the conditions are the same.
    unsafe { memcmp(left, right, count) }
}

/// Counts the bytes before the first zero.
///
/// # Safety
/// As in C.
// SAFETY: the function is the one that its name promises.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the byte is not after the zero.
    while unsafe { read(text, length) } != 0 {
        length += 1;
    }
    length
}

/// Reads a byte.
///
/// # Safety
/// The place has more than `index` bytes.
unsafe fn read(from: *const u8, index: usize) -> u8 {
    // SAFETY: the caller says so.
    let place = unsafe { from.add(index) };
    // SAFETY: the caller says so.
    unsafe { place.read_volatile() }
}

/// Copies a byte.
///
/// # Safety
/// Both places have more than `index` bytes.
unsafe fn copy(to: *mut u8, from: *const u8, index: usize) {
    // SAFETY: the caller says so.
    let byte = unsafe { read(from, index) };
    // SAFETY: the caller says so.
    let place = unsafe { to.add(index) };
    // SAFETY: the caller says so.
    unsafe { place.write_volatile(byte) };
}
