using System.Runtime.InteropServices;

namespace Dynamo.Vllm.Python.Platform;

/// <summary>The few libc functions that .NET has no form of.</summary>
internal static partial class NativeLibc
{
    public const int RtldLazy = 1;
    public const int RtldNow = 2;
    public const int RtldGlobal = 0x100;
    public const int EventFdNonBlocking = 0x800;
    public const int EventFdCloseOnExec = 0x80000;
    public const int OpenWriteOnly = 1;
    public const int OpenReadWrite = 2;
    public const int OpenNoTerminal = 0x100;
    public const int OpenNonBlocking = 0x800;
    public const int OpenCloseOnExec = 0x80000;
    public const int GetDescriptorFlags = 1;
    public const int CloseOnExec = 1;
    public const int DuplicateCloseOnExec = 1030;
    public const int SeekCurrent = 1;
    public const int Interrupted = 4;
    public const int WouldBlock = 11;
    public const nint SignalDefault = 0;
    public const nint SignalIgnored = 1;
    public const short PollIn = 1;
    public const short PollOut = 4;

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

    [LibraryImport("libc.so.6", EntryPoint = "write", SetLastError = true)]
    public static partial nint WriteBytes(int descriptor, ReadOnlySpan<byte> data, nint bytes);

    [LibraryImport("libc.so.6", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, int flags, int mode);

    [LibraryImport("libc.so.6", EntryPoint = "fcntl", SetLastError = true)]
    public static partial int Fcntl(int descriptor, int command, int argument);

    [LibraryImport("libc.so.6", EntryPoint = "dup2", SetLastError = true)]
    public static partial int Dup2(int from, int to);

    [LibraryImport("libc.so.6", EntryPoint = "lseek", SetLastError = true)]
    public static partial long Seek(int descriptor, long offset, int origin);

    [LibraryImport("libc.so.6", EntryPoint = "poll", SetLastError = true)]
    public static partial int Poll(ref PollDescriptor descriptors, nuint count, int milliseconds);

    [LibraryImport("libc.so.6", EntryPoint = "execv", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int ExecV(string path, string?[] arguments);

    [LibraryImport("libc.so.6", EntryPoint = "signal")]
    public static partial nint Signal(int signal, nint handler);

    [LibraryImport("libc.so.6", EntryPoint = "kill", SetLastError = true)]
    public static partial int Kill(int process, int signal);

    [LibraryImport("libc.so.6", EntryPoint = "sigaction")]
    public static partial int GetSignalAction(int signal, nint none, Span<byte> action);

    [LibraryImport("libc.so.6", EntryPoint = "getrlimit")]
    public static partial int GetLimit(int resource, ref ResourceLimit limit);

    [LibraryImport("libc.so.6", EntryPoint = "setrlimit")]
    public static partial int SetLimit(int resource, in ResourceLimit limit);

    [LibraryImport("libc.so.6", EntryPoint = "close")]
    public static partial int Close(int descriptor);

    [LibraryImport("libc.so.6", EntryPoint = "_exit")]
    public static partial void Exit(int code);

    public static string LastDlError() => Marshal.PtrToStringUTF8(DlError()) ?? "unknown error";

    /// <summary><c>struct rlimit</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct ResourceLimit
    {
        public nuint Soft;
        public nuint Hard;
    }

    /// <summary><c>struct pollfd</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct PollDescriptor
    {
        public int Descriptor;
        public short Events;
        public short Returned;
    }
}
