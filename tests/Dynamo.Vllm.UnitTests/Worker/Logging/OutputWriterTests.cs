using System.Text;
using Dynamo.Vllm.Worker.Logging;

namespace Dynamo.Vllm.UnitTests.Worker.Logging;

public sealed class OutputWriterTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private readonly StringBuilder _read = new();
    private readonly ManualResetEventSlim _isReading = new(false);

    [Fact]
    public void A_reader_that_stops_costs_lines_and_is_told_how_many_where_they_are_missing()
    {
        using var writer = new OutputWriter("test", Read, queueBytesMax: 8)
        {
            Notice = lines => Encoding.UTF8.GetBytes($"[{lines} missing]\n"),
        };
        Assert.True(writer.TryWrite("one\n"u8.ToArray()));
        Assert.True(writer.TryWrite("two\n"u8.ToArray()));
        Assert.False(writer.TryWrite("a\nb\n"u8.ToArray()));
        Assert.False(writer.TryWrite("c\n"u8.ToArray()));
        Assert.Equal(3, writer.DroppedLines);
        Assert.False(writer.Flush(TimeSpan.Zero));
        _isReading.Set();
        Assert.True(writer.Flush(Limit));
        Assert.True(writer.TryWrite("four\n"u8.ToArray()));
        Assert.True(writer.Flush(Limit));
        Assert.Equal("one\ntwo\n[3 missing]\nfour\n", _read.ToString());
    }

    [Fact]
    public void A_line_that_cannot_be_written_is_counted_and_the_next_one_is_tried()
    {
        var attempts = 0;
        using var writer = new OutputWriter(
            "test",
            text =>
            {
                if (attempts++ == 0)
                {
                    throw new IOException("no space left on device");
                }

                _read.Append(Encoding.UTF8.GetString(text.Span));
            }
        )
        {
            Notice = lines => Encoding.UTF8.GetBytes($"[{lines} missing]\n"),
        };
        writer.TryWrite("one\n"u8.ToArray());
        Assert.True(writer.Flush(Limit));
        writer.TryWrite("two\n"u8.ToArray());
        Assert.True(writer.Flush(Limit));
        Assert.Equal(1, writer.DroppedLines);
        Assert.Equal("[1 missing]\ntwo\n", _read.ToString());
    }

    private void Read(ReadOnlyMemory<byte> text)
    {
        _isReading.Wait(Limit);
        _read.Append(Encoding.UTF8.GetString(text.Span));
    }
}
