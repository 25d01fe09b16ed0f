using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>What one step of the engine brought for this client (docs/protocol/engine-core.md, 5).</summary>
/// <remarks>
/// Read in order: the outputs, then the statistics and the time. Entries that a later release adds at the end are passed over.
/// </remarks>
internal ref struct EngineOutputsReader
{
    /// <summary>Positions up to the time.</summary>
    private const int EntriesMin = 4;

    private readonly ReadOnlySpan<byte> _body;
    private MessagePackReader _reader;
    private int _left;

    /// <exception cref="ProtocolException">It is no such message.</exception>
    public EngineOutputsReader(ReadOnlySpan<byte> body)
    {
        _body = body;
        _reader = new MessagePackReader(body);
        if (_reader.ReadArrayHeader() is var entries && entries < EntriesMin)
        {
            throw new ProtocolException($"the engine's outputs have {entries} entries, at least {EntriesMin} are needed");
        }

        _reader.Skip(); // the engine's index: there is one
        _left = _reader.ReadArrayHeader();
        HasOutputs = _left > 0;
    }

    /// <summary>Otherwise nothing happened but that statistics are told: vLLM counts no iteration then.</summary>
    public bool HasOutputs { get; }

    /// <param name="tokens">Where the tokens of the output go; made larger if it is too small.</param>
    /// <param name="output">The next one.</param>
    public bool TryRead(ref int[] tokens, out EngineOutputEntry output)
    {
        if (_left == 0)
        {
            output = default;
            return false;
        }

        _left--;
        output = EngineOutputEntry.Read(_body, ref _reader, ref tokens);
        return true;
    }

    /// <summary>After the last output: the scheduler's statistics as MessagePack, empty without any.</summary>
    /// <param name="timestamp">The engine's monotonic clock in seconds.</param>
    public ReadOnlySpan<byte> ReadRest(out double timestamp)
    {
        var start = _reader.Position;
        var hasStatistics = !_reader.TryReadNil();
        if (hasStatistics)
        {
            _reader.Skip();
        }

        var scheduler = hasStatistics ? _body[start.._reader.Position] : default;
        timestamp = _reader.ReadDouble();
        return scheduler;
    }
}
