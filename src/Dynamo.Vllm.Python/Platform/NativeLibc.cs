using System.Runtime.InteropServices;

namespace Dynamo.Vllm.Python.Native;

/// <summary>The few libc functions that .NET has no form of.</summary>
internal static partial class NativeLibc
{
    public const int RtldLazy = 1;
    public const int RtldNow = 2;
    public const int RtldGlobal = 0x100;
    public const int EventFdNonBlocking = 0x800;
    public const int EventFdCloseOnExec = 0x80000;

    [LibraryImport("libc.so.6", EntryPoint = "dlopen", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint DlOpen(string path, int flags);

    [LibraryImport("libc.so.6", EntryPoint = "dlsym", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint DlSym(nint handle, string name);

    [LibraryImport("libc.so.6", EntryPoint = "dlclose")]
    public static partial int DlClose(nint handle);

    [LibraryImport("libc.so.6", EntryPoint = "dlerror")]
    public static partial nint DlError();

    [LibraryImport("libc.so.6", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SetEnv(string name, string value, int overwrite);

    [LibraryImport("libc.so.6", EntryPoint = "unsetenv", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int UnsetEnv(string name);

    [LibraryImport("libc.so.6", EntryPoint = "eventfd", SetLastError = true)]
    public static partial int EventFd(uint initial, int flags);

    [LibraryImport("libc.so.6", EntryPoint = "write", SetLastError = true)]
    public static partial nint Write(int descriptor, in ulong value, nint bytes);

    [LibraryImport("libc.so.6", EntryPoint = "close")]
    public static partial int Close(int descriptor);

    [LibraryImport("libc.so.6", EntryPoint = "_exit")]
    public static partial void Exit(int code);

    public static string LastDlError() => Marshal.PtrToStringUTF8(DlError()) ?? "unknown error";
}
