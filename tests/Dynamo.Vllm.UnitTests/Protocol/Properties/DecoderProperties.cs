using CsCheck;
using Dynamo.Vllm.Testing.Decoders;

namespace Dynamo.Vllm.UnitTests.Protocol.Properties;

/// <summary>Every decoder of bytes that come from a peer, on damaged captures. Many more of them: bench/Dynamo.Vllm.Fuzz.</summary>
public sealed class DecoderProperties
{
    public static TheoryData<string> Decoders => [.. DecoderTargets.All.Select(target => target.Name)];

    [Theory]
    [MemberData(nameof(Decoders))]
    public void Damaged_bytes_are_read_or_refused(string decoder)
    {
        var target = DecoderTargets.Find(decoder);
        Damaged
            .Of([.. target.Captures])
            .Sample(
                bytes =>
                {
                    DecoderProof.Survives(bytes, target.Decode);
                },
                iter: Damaged.Tries
            );
    }

    [Theory]
    [MemberData(nameof(Decoders))]
    public void Captures_are_read(string decoder)
    {
        var target = DecoderTargets.Find(decoder);
        Assert.NotEmpty(target.Captures);
        Assert.All(target.Captures, capture => Assert.True(DecoderProof.Survives(capture, target.Decode)));
    }
}
