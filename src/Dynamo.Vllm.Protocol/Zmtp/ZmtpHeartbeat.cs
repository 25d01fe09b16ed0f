using System.Buffers;

namespace Dynamo.Vllm.Protocol.Zmtp;

/// <summary>Heartbeats of ZMTP 3.1 peers.</summary>
public static class ZmtpHeartbeat
{
    private const int TimeToLiveBytes = 2;

    private const int ContextBytesMax = 16;

    /// <summary>Writes the PONG if the command is a PING: <c>04 "PING" ttl16 context?</c> becomes <c>04 "PONG" context?</c>.</summary>
    public static bool TryAnswer(ReadOnlySpan<byte> command, IBufferWriter<byte> output)
    {
        if (!ZmtpCodec.SplitCommand(command, out var data).SequenceEqual("PING"u8))
        {
            return false;
        }

        var context = data.Length > TimeToLiveBytes ? data[TimeToLiveBytes..] : [];
        if (context.Length > ContextBytesMax)
        {
            throw new ProtocolException($"PING context of {context.Length} bytes is above the limit {ContextBytesMax}");
        }

        ZmtpCodec.WriteFrameHeader(output, ZmtpCodec.Command, 5 + context.Length);
        output.Write("\u0004PONG"u8);
        output.Write(context);
        return true;
    }
}
