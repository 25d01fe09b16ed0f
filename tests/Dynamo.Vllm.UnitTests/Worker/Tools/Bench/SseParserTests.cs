using System.Text;
using Dynamo.Vllm.Worker.Tools.Bench;

namespace Dynamo.Vllm.UnitTests.Worker.Tools.Bench;

public sealed class SseParserTests
{
    private const string Stream =
        "data: {\"a\":1}\n\n: ping\r\n\r\nid: 7\r\ndata:two\r\ndata: lines\r\n\r\n"
        + "event: error\n: it broke\n\nretry: 5\rdata: [DONE]\r\rdata: cut";

    private static readonly (string?, string)[] Expected =
    [
        (null, "{\"a\":1}"),
        (null, "two\nlines"),
        ("error", "it broke"),
        (null, "[DONE]"),
    ];

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(7)]
    [InlineData(1000)]
    public void Events_are_the_same_wherever_packets_are_cut(int packetLength) =>
        Assert.Equal(Expected, Read(Encoding.UTF8.GetBytes(Stream), packetLength));

    [Fact]
    public void A_long_event_is_whole()
    {
        var text = new string('x', 300_000);
        Assert.Equal([(null, text)], Read(Encoding.UTF8.GetBytes($"data: {text}\n\n"), 1500));
    }

    [Fact]
    public void A_line_without_an_end_and_an_event_without_one_are_refused_at_their_limit()
    {
        var line = Encoding.UTF8.GetBytes("data: " + new string('x', SseParser.EventBytesMax));
        Assert.Contains("a line", Assert.Throws<FormatException>(() => Read(line, 65_536)).Message, StringComparison.Ordinal);
        var many = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat($"data: {new string('x', 1000)}\n", 1100)));
        Assert.Contains("an event", Assert.Throws<FormatException>(() => Read(many, 65_536)).Message, StringComparison.Ordinal);
    }

    private static List<(string?, string)> Read(ReadOnlySpan<byte> stream, int packetLength)
    {
        var parser = new SseParser();
        var events = new List<(string?, string)>();
        while (stream.Length > 0)
        {
            var space = parser.Space().Span;
            var packet = stream[..Math.Min(Math.Min(packetLength, stream.Length), space.Length)];
            packet.CopyTo(space);
            parser.Advance(packet.Length);
            stream = stream[packet.Length..];
            while (parser.TryRead(out var streamEvent))
            {
                events.Add((streamEvent.Name, Encoding.UTF8.GetString(streamEvent.Data.Span)));
            }
        }

        return events;
    }
}
