using System.Globalization;
using System.Runtime.InteropServices;

namespace Dynamo.Vllm.Engine.Processes;

/// <summary>Whether the GPUs that this process may use compute anything, by NVIDIA's management library.</summary>
/// <remarks>
/// A call of the library can hang with its driver, so it runs on the pool, one at a time, and its last result is what is told;
/// while one hangs nothing is known. Other processes on the same GPU make it look busy, which only makes the watch more patient.
/// </remarks>
public sealed class GpuActivity
{
    private const string Library = "libnvidia-ml.so.1";
    private const int Success = 0;

    private readonly GetUtilization _getUtilization;
    private readonly nint[] _devices;
    private int _isAsking;
    private int _busy = -1; // -1 unknown, 0 idle, 1 busy

    private GpuActivity(GetUtilization getUtilization, nint[] devices)
    {
        _getUtilization = getUtilization;
        _devices = devices;
    }

    private delegate int Init();

    private delegate int GetCount(out uint count);

    private delegate int GetByIndex(uint index, out nint device);

    private delegate int GetById([MarshalAs(UnmanagedType.LPUTF8Str)] string id, out nint device);

    private delegate int GetUtilization(nint device, out Utilization utilization);

    /// <summary>Null where there is no such library or no GPU.</summary>
    /// <param name="visibleDevices">CUDA_VISIBLE_DEVICES: indexes or ids; null or empty means all.</param>
    public static GpuActivity? TryOpen(string? visibleDevices)
    {
        if (
            !NativeLibrary.TryLoad(Library, out var library)
            || Find<Init>(library, "nvmlInit_v2")?.Invoke() != Success
            || Find<GetCount>(library, "nvmlDeviceGetCount_v2") is not { } getCount
            || getCount(out var count) != Success
            || Find<GetByIndex>(library, "nvmlDeviceGetHandleByIndex_v2") is not { } getByIndex
            || Find<GetById>(library, "nvmlDeviceGetHandleByUUID") is not { } getById
            || Find<GetUtilization>(library, "nvmlDeviceGetUtilizationRates") is not { } getUtilization
        )
        {
            return null;
        }

        string[] names = string.IsNullOrWhiteSpace(visibleDevices)
            ? [.. Enumerable.Range(0, (int)count).Select(index => index.ToString(CultureInfo.InvariantCulture))]
            : visibleDevices.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        var devices = new List<nint>();
        foreach (var name in names)
        {
            var code = uint.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var index)
                ? getByIndex(index, out var device)
                : getById(name, out device);
            if (code == Success)
            {
                devices.Add(device);
            }
        }

        return devices.Count == 0 ? null : new GpuActivity(getUtilization, [.. devices]);
    }

    /// <summary>What the last look showed, null if it failed or is not over; and begins the next one.</summary>
    public bool? IsBusy()
    {
        if (Interlocked.Exchange(ref _isAsking, 1) != 0)
        {
            return null;
        }

        var last = Volatile.Read(ref _busy);
        ThreadPool.UnsafeQueueUserWorkItem(static gpu => gpu.Ask(), this, preferLocal: false);
        return last < 0 ? null : last > 0;
    }

    private void Ask()
    {
        var busy = 0;
        foreach (var device in _devices)
        {
            if (_getUtilization(device, out var utilization) != Success)
            {
                busy = -1;
                break;
            }

            busy |= utilization.Gpu > 0 ? 1 : 0;
        }

        Volatile.Write(ref _busy, busy);
        Volatile.Write(ref _isAsking, 0);
    }

    private static T? Find<T>(nint library, string name)
        where T : Delegate =>
        NativeLibrary.TryGetExport(library, name, out var address) ? Marshal.GetDelegateForFunctionPointer<T>(address) : null;

    /// <summary>Percent of the last sample period, which is up to a second.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Utilization
    {
        public uint Gpu;
        public uint Memory;
    }
}
