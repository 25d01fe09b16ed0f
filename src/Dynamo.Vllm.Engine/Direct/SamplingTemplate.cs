using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>Sampling parameters as vLLM encoded them, with a place for the length and for what goes to the KV connector.</summary>
internal sealed class SamplingTemplate
{
    private readonly byte[] _encoded;
    private readonly int _entries;
    private readonly Range _beforeLength;
    private readonly Range _afterLength;

    /// <exception cref="ProtocolException">It is no map, or one without <c>max_tokens</c>.</exception>
    public SamplingTemplate(byte[] encoded)
    {
        _encoded = encoded;
        TakesExtraArguments = true;
        var reader = new MessagePackReader(encoded);
        _entries = reader.ReadMapHeader();
        var start = reader.Position;
        Range? length = null;
        for (var left = _entries; left > 0; left--)
        {
            var name = reader.ReadStringBytes();
            TakesExtraArguments &= !name.SequenceEqual("extra_args"u8);
            var isLength = name.SequenceEqual("max_tokens"u8);
            var value = reader.Position;
            reader.Skip();
            length = isLength ? value..reader.Position : length;
        }

        var found = length ?? throw new ProtocolException("the engine's sampling parameters lack max_tokens");
        _beforeLength = start..found.Start;
        _afterLength = found.End..reader.Position;
    }

    /// <summary>There are none yet.</summary>
    public bool TakesExtraArguments { get; }

    /// <param name="output">Gets the map.</param>
    /// <param name="maxTokens">Tokens at most.</param>
    /// <param name="kvTransferParamsJson">For the KV connector; null without.</param>
    public void Write(EngineMessage output, int maxTokens, ReadOnlyMemory<byte>? kvTransferParamsJson)
    {
        var writer = new MessagePackWriter(output);
        writer.WriteMapHeader(_entries + (kvTransferParamsJson is null ? 0 : 1));
        output.Copy(_encoded.AsSpan(_beforeLength));
        writer.WriteInteger(maxTokens);
        output.Copy(_encoded.AsSpan(_afterLength));
        if (kvTransferParamsJson is { } transfer)
        {
            writer.WriteString("extra_args"u8);
            writer.WriteMapHeader(1);
            writer.WriteString("kv_transfer_params"u8);
            MessagePackJson.WriteMessagePack(transfer.Span, output);
        }
    }
}
