using System.Buffers;
using System.Buffers.Binary;
using Dynamo.Vllm.Python.Interpreter;

namespace Dynamo.Vllm.Engine.Guest;

/// <summary>Messages to the guest: operation, number, JSON and bytes (wire.py). Thread-safe, never blocks.</summary>
internal sealed class GuestMailbox(PythonHost host)
{
    private ulong _lastId;

    /// <summary>A number that no stream and no call had before.</summary>
    public ulong NextId() => Interlocked.Increment(ref _lastId);

    /// <returns>False if the guest has ended or, unless it is urgent, too much waits.</returns>
    public bool TryPost(GuestOperation operation, ulong id, ReadOnlySpan<byte> json, ReadOnlySpan<byte> blob, bool isUrgent)
    {
        const int headerBytes = 13; // <BQI
        var header = ArrayPool<byte>.Shared.Rent(headerBytes + json.Length);
        header[0] = (byte)operation;
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(1), id);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(9), (uint)json.Length);
        json.CopyTo(header.AsSpan(headerBytes));
        var posted = host.TryPost(header.AsSpan(0, headerBytes + json.Length), blob, isUrgent);
        ArrayPool<byte>.Shared.Return(header, clearArray: true);
        return posted;
    }
}
