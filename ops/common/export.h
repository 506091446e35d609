// Functions of a library that gsasr_ops.backend() calls through ctypes.
#pragma once

#if defined(_WIN32)
#define GSASR_EXPORT extern "C" __declspec(dllexport)
#else
#define GSASR_EXPORT extern "C" __attribute__((visibility("default")))
#endif
