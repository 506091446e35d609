// Functions of a library that gsasr_ops.backend() calls through ctypes.
#pragma once

#if defined(_WIN32)
#define GSASR_EXPORT extern "C" __declspec(dllexport)
#else
#define GSASR_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// What build.py's cxx_flags says of a library: hexadecimal digits of JSON.
#if !defined(GSASR_FACTS)
#define GSASR_FACTS 7b7d
#endif
#define GSASR_TEXT_OF(macro) #macro
#define GSASR_TEXT(macro) GSASR_TEXT_OF(macro)
#define GSASR_EXPORT_FACTS \
    GSASR_EXPORT const char* gsasr_facts() { return GSASR_TEXT(GSASR_FACTS); }
