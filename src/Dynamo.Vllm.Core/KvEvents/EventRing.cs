using System.Buffers;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>The newest published events, encoded, by id. Not thread-safe: its owner's lock guards it.</summary>
/// <remarks>Full in number or in bytes means the oldest goes; a router that needs it gets a dump instead.</remarks>
internal sealed class EventRing
{
    /// <summary>As in the reference (kv-and-load.md, 15).</summary>
    public const int EventsMax = 1024;

    private const int BytesMax = 64 * 1024 * 1024;

    private readonly Slot[] _slots = new Slot[EventsMax];
    private long _bytes;

    public int Count { get; private set; }

    /// <summary>Id of the newest event; 0 before the first.</summary>
    public ulong Newest { get; private set; }

    /// <summary>Id of the oldest event that is still here; meaningless when empty.</summary>
    public ulong Oldest => Newest - (ulong)Count + 1;

    /// <summary>Keeps an event; ids follow each other without holes.</summary>
    public void Add(ulong id, ReadOnlySpan<byte> encoded)
    {
        if (Count == EventsMax)
        {
            DropOldest();
        }

        ref var slot = ref _slots[id % EventsMax];
        var buffer = slot.Buffer;
        if (buffer is null || buffer.Length < encoded.Length || buffer.Length / 4 > Math.Max(encoded.Length, 1024))
        {
            if (buffer is not null)
            {
                ArrayPool<byte>.Shared.Return(buffer);
            }

            buffer = ArrayPool<byte>.Shared.Rent(encoded.Length);
        }

        encoded.CopyTo(buffer);
        slot = new Slot(buffer, encoded.Length);
        Newest = id;
        Count++;
        _bytes += encoded.Length;
        while (_bytes > BytesMax && Count > 1)
        {
            DropOldest();
        }
    }

    public ReadOnlySpan<byte> this[ulong id]
    {
        get
        {
            ref readonly var slot = ref _slots[id % EventsMax];
            return slot.Buffer.AsSpan(0, slot.Length);
        }
    }

    /// <summary>Forgets the events but not the newest id.</summary>
    public void Clear()
    {
        while (Count > 0)
        {
            DropOldest();
        }
    }

    private void DropOldest()
    {
        ref var slot = ref _slots[Oldest % EventsMax];
        _bytes -= slot.Length;
        slot.Length = 0; // the buffer stays for the next event in this slot
        Count--;
    }

    private record struct Slot(byte[]? Buffer, int Length);
}
