using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using CsCheck;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Framing;
using Dynamo.Vllm.Testing.Decoders;

namespace Dynamo.Vllm.UnitTests.Protocol.Properties;

/// <summary>Frames of the TCP plane.</summary>
public sealed class FramingProperties
{
    [Fact]
    public void A_frame_comes_apart_as_it_was_put_together_and_not_before_it_is_whole() =>
        Gen.Select(Gen.String[Gen.Char.AlphaNumeric, 0, 60], Gen.Byte.Array[0, 300], Gen.Byte.Array[0, 300])
            .Sample(
                (path, headers, payload) =>
                {
                    var output = new ArrayBufferWriter<byte>();
                    RequestFrame.Write(output, path, headers, payload);
                    var frame = output.WrittenSpan.ToArray();
                    for (var length = 0; length <= frame.Length; length++)
                    {
                        var isKnown = RequestFrame.TryReadLength(Split(frame.AsMemory(0, length)), out var bytes);
                        Assert.Equal(isKnown ? frame.Length : 0, bytes);
                        Assert.True(isKnown || length < frame.Length - payload.Length);
                    }

                    RequestFrame.Split(frame, out var readPath, out var readHeaders, out var readPayload);
                    Assert.Equal(path, readPath);
                    Assert.Equal(headers, readHeaders.ToArray());
                    Assert.Equal(payload, readPayload.ToArray());
                },
                iter: Damaged.Tries / 10
            );

    [Fact]
    public void A_message_of_two_parts_comes_apart_as_it_was_put_together_and_not_when_it_is_cut() =>
        Gen.Select(Gen.Byte.Array[0, 200], Gen.Byte.Array[0, 200])
            .Sample(
                (header, body) =>
                {
                    var output = new ArrayBufferWriter<byte>();
                    TwoPartMessage.Write(output, header, body);
                    var message = output.WrittenSpan.ToArray();
                    var read = TwoPartMessage.Split(message, header.Length);
                    Assert.Equal(header, read.Header.ToArray());
                    Assert.Equal(body, read.Body.ToArray());
                    for (var length = 0; length < message.Length; length++)
                    {
                        Assert.False(DecoderProof.Survives(message[..length], cut => TwoPartMessage.Split(cut, header.Length)));
                    }

                    Assert.False(DecoderProof.Survives([.. message, 0], more => TwoPartMessage.Split(more, header.Length)));
                    Assert.True(
                        header.Length == 0 || !DecoderProof.Survives(message, long_ => TwoPartMessage.Split(long_, header.Length - 1))
                    );
                },
                iter: Damaged.Tries / 10
            );

    [Fact]
    public void Any_two_lengths_are_right_or_refused() =>
        Gen.Select(Gen.ULong, Gen.ULong, Gen.Byte.Array[0, 64], Gen.Int[0, 1 << 20])
            .Sample(
                (header, body, rest, most) =>
                {
                    var message = new byte[TwoPartMessage.PrefixBytes + rest.Length];
                    BinaryPrimitives.WriteUInt64BigEndian(message, header);
                    BinaryPrimitives.WriteUInt64BigEndian(message.AsSpan(8), body);
                    var isRight = header <= (ulong)most && unchecked(header + body) == (ulong)rest.Length && header <= (ulong)rest.Length;
                    Assert.Equal(isRight, DecoderProof.Survives(message, bytes => TwoPartMessage.Split(bytes, most)));
                },
                iter: Damaged.Tries
            );

    [Fact]
    public void An_answer_is_its_length_and_its_text() =>
        Gen
            .String.Null()
            .Sample(
                text =>
                {
                    var output = new ArrayBufferWriter<byte>();
                    RequestAck.Write(output, text);
                    var bytes = Encoding.UTF8.GetBytes(text ?? "");
                    Assert.Equal((uint)bytes.Length, BinaryPrimitives.ReadUInt32BigEndian(output.WrittenSpan));
                    Assert.Equal(bytes, output.WrittenSpan[4..].ToArray());
                },
                iter: Damaged.Tries / 4
            );

    /// <summary>In two segments, as a pipe may have it.</summary>
    private static ReadOnlySequence<byte> Split(ReadOnlyMemory<byte> bytes)
    {
        var first = new Segment(bytes[..(bytes.Length / 2)], 0);
        var last = first.Append(bytes[(bytes.Length / 2)..]);
        return new ReadOnlySequence<byte>(first, 0, last, last.Memory.Length);
    }

    private sealed class Segment : ReadOnlySequenceSegment<byte>
    {
        public Segment(ReadOnlyMemory<byte> memory, long index)
        {
            Memory = memory;
            RunningIndex = index;
        }

        public Segment Append(ReadOnlyMemory<byte> memory)
        {
            var next = new Segment(memory, RunningIndex + Memory.Length);
            Next = next;
            return next;
        }
    }
}
