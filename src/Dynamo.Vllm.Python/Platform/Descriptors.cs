using System.Runtime.InteropServices;

namespace Dynamo.Vllm.Python.Platform;

/// <summary>What .NET has no form of for the descriptors that a process is born with.</summary>
public static class Descriptors
{
    public const int StandardOutput = 1;
    public const int StandardError = 2;

    /// <summary>Makes sure that the three standard descriptors were open when this process started, by starting it again if not.</summary>
    /// <remarks>
    /// The runtime's own files have taken the numbers of those that were closed (<c>2&gt;&amp;-</c>), and native code and Python would
    /// write their messages into these. Nothing can be moved under a running runtime, but the same program can be executed again in this
    /// process. An inherited descriptor never carries the close-on-exec flag, and what the runtime opens always does.
    /// </remarks>
    public static void RequireStandard()
    {
        int[] closed = [.. Enumerable.Range(0, 3).Where(descriptor => !IsInherited(descriptor))];
        if (closed.Length == 0)
        {
            return;
        }

        var arguments = File.ReadAllText("/proc/self/cmdline").TrimEnd('\0').Split('\0');
        foreach (var descriptor in closed)
        {
            var nothing = NativeLibc.Open("/dev/null", NativeLibc.OpenReadWrite, 0);
            if (nothing != descriptor)
            {
                _ = NativeLibc.Dup2(nothing, descriptor);
                _ = NativeLibc.Close(nothing);
            }
        }

        // Returns only on failure; then the process goes on as it is, which is no worse than before.
        _ = NativeLibc.ExecV("/proc/self/exe", [.. arguments, null]);
    }

    /// <summary>Another number for the same open file, closed in children.</summary>
    public static SafeHandle Duplicate(int descriptor)
    {
        var copy = NativeLibc.Fcntl(descriptor, NativeLibc.DuplicateCloseOnExec, 3);
        return copy >= 0
            ? new Microsoft.Win32.SafeHandles.SafeFileHandle(copy, ownsHandle: true)
            : throw Failure("cannot duplicate a standard descriptor");
    }

    /// <summary>Makes the number mean what the other one means. Children inherit it.</summary>
    public static void Replace(int descriptor, SafeHandle by) => _ = NativeLibc.Dup2((int)by.DangerousGetHandle(), descriptor);

    /// <summary>Makes writes to a pipe or terminal fail when it is full
    /// instead of waiting, for this process and its children alone.</summary>
    /// <returns>False where that is not possible: a socket, or a pipe of another
    /// user. A file never waits for a reader and is left as it is.</returns>
    /// <remarks>Opened anew: the flag belongs to the open file, which the parent
    /// shares. What has a position would start again at its beginning.</remarks>
    public static bool TryMakeNonBlocking(int descriptor)
    {
        if (NativeLibc.Seek(descriptor, 0, NativeLibc.SeekCurrent) >= 0)
        {
            return false;
        }

        var opened = NativeLibc.Open(
            $"/proc/self/fd/{descriptor}",
            NativeLibc.OpenWriteOnly | NativeLibc.OpenNonBlocking | NativeLibc.OpenNoTerminal | NativeLibc.OpenCloseOnExec,
            0
        );
        if (opened < 0)
        {
            return false;
        }

        using var handle = new Microsoft.Win32.SafeHandles.SafeFileHandle(opened, ownsHandle: true);
        Replace(descriptor, handle);
        return true;
    }

    /// <summary>True once there is something to read, or the writers are gone; false after the limit. -1 ms: no limit.</summary>
    public static bool WaitReadable(SafeHandle handle, int milliseconds) => Wait(handle, NativeLibc.PollIn, milliseconds);

    /// <summary>Writes all of it, waiting for room as long as it takes.</summary>
    /// <exception cref="IOException">The rest cannot be written: nobody will ever read it, or the disk is full.</exception>
    public static void Write(SafeHandle handle, ReadOnlySpan<byte> data)
    {
        while (data.Length > 0)
        {
            var written = NativeLibc.WriteBytes((int)handle.DangerousGetHandle(), data, data.Length);
            if (written >= 0)
            {
                data = data[(int)written..];
                continue;
            }

            switch (Marshal.GetLastPInvokeError())
            {
                case NativeLibc.Interrupted:
                    break;
                case NativeLibc.WouldBlock: // whoever opened it asked for that
                    Wait(handle, NativeLibc.PollOut, -1);
                    break;
                default:
                    throw Failure("cannot write");
            }
        }
    }

    private static bool Wait(SafeHandle handle, short events, int milliseconds)
    {
        var poll = new NativeLibc.PollDescriptor { Descriptor = (int)handle.DangerousGetHandle(), Events = events };
        return NativeLibc.Poll(ref poll, 1, milliseconds) > 0;
    }

    private static bool IsInherited(int descriptor)
    {
        var flags = NativeLibc.Fcntl(descriptor, NativeLibc.GetDescriptorFlags, 0);
        return flags >= 0 && (flags & NativeLibc.CloseOnExec) == 0;
    }

    private static IOException Failure(string what) => new($"{what}: {Marshal.GetLastPInvokeErrorMessage()}");
}
