using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Dynamo.Vllm.Transports.Discovery;

/// <summary>The lock that all peers take on a bucket directory while they change or list it.</summary>
internal sealed partial class FileLock : IDisposable
{
    private const int ReadOnlyDirectory = 0x10000 | 0x80000; // O_DIRECTORY | O_CLOEXEC
    private const int ExclusiveNonBlocking = 2 | 4; // LOCK_EX | LOCK_NB

    private const int TriesMax = 100;

    private readonly SafeFileHandle _handle;

    private FileLock(SafeFileHandle handle) => _handle = handle;

    /// <summary>Tries every 10 ms, 100 times, as the reference does, then gives up with null.</summary>
    /// <exception cref="IOException">The directory cannot be opened.</exception>
    public static async Task<FileLock?> TryTakeAsync(string directory, CancellationToken cancellationToken)
    {
        var handle = new SafeFileHandle(Open(directory, ReadOnlyDirectory), ownsHandle: true);
        if (handle.IsInvalid)
        {
            throw new IOException($"cannot open {directory}: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}");
        }

        var taken = false;
        try
        {
            for (var tries = 0; tries < TriesMax && !taken; tries++)
            {
                taken = Flock((int)handle.DangerousGetHandle(), ExclusiveNonBlocking) == 0;
                if (!taken)
                {
                    await Task.Delay(10, cancellationToken).ConfigureAwait(false);
                }
            }
        }
        finally
        {
            if (!taken)
            {
                handle.Dispose();
            }
        }

        return taken ? new FileLock(handle) : null;
    }

    public void Dispose() => _handle.Dispose(); // closing releases the lock

    /// <summary>Makes <paramref name="target"/> a name of <paramref name="source"/>; false if the name exists.</summary>
    public static bool TryLink(string source, string target) => Link(source, target) == 0;

    [LibraryImport("libc.so.6", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc.so.6", EntryPoint = "flock")]
    private static partial int Flock(int descriptor, int operation);

    [LibraryImport("libc.so.6", EntryPoint = "link", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Link(string source, string target);
}
