using System.Text;
using Dynamo.Vllm.Worker.Logging;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Worker.Logging;

public sealed class FormatterTests
{
    private static readonly FakeTimeProvider Time = new(new DateTimeOffset(2026, 11, 22, 12, 47, 10, TimeSpan.Zero).AddTicks(1887130));

    [Fact]
    public void A_readable_line_looks_as_the_references()
    {
        Assert.Equal(
            "2026-11-22T12:47:10.188713Z  INFO a.B: Ready: serving tiny after 1.5 s\n",
            Line(new ReadableFormatter(false, Time), LogLevel.Information, "Ready: serving {Model} after {Seconds:F1} s", "tiny", 1.5)
        );
        Assert.Equal(
            "2026-11-22T12:47:10.188713Z \x1b[33m WARN\x1b[0m a.B: x\n",
            Line(new ReadableFormatter(true, Time), LogLevel.Warning, "x")
        );
    }

    [Fact]
    public void A_json_line_has_the_fields_of_its_message() =>
        Assert.Equal(
            """{"time":"2026-11-22T12:47:10.188713Z","level":"INFO","target":"a.B","message":"Ready: serving tiny after 1.5 s","model":"tiny","seconds":"1.5"}"""
                + "\n",
            Line(new JsonLinesFormatter(Time), LogLevel.Information, "Ready: serving {Model} after {Seconds:F1} s", "tiny", 1.5)
        );

    [Fact]
    public void Text_from_outside_cannot_forge_a_line_or_command_a_terminal()
    {
        const string forged = "/x\n2026-11-22T12:47:10.000000Z ERROR a.B: forged\r\nmore\rover\x1b[2J\x07\u0085\u2028end\ttab";
        Assert.Equal(
            "2026-11-22T12:47:10.188713Z  INFO a.B: GET /x\n    2026-11-22T12:47:10.000000Z ERROR a.B: forged\n    "
                + "more\\u000dover\\u001b[2J\\u0007\\u0085\\u2028end\ttab\n",
            Line(new ReadableFormatter(false, Time), LogLevel.Information, "GET {Path}", forged)
        );
        Assert.Equal(
            1,
            Line(new JsonLinesFormatter(Time), LogLevel.Information, "GET {Path}", forged).Count(character => char.IsControl(character))
        );
    }

    [Fact]
    public void An_exception_follows_in_lines_that_no_log_line_looks_like()
    {
        var lines = new List<string>();
        using var provider = Provider(new ReadableFormatter(false, Time), lines);
        provider.CreateLogger("a.B").Log(LogLevel.Error, default, "failed", new InvalidOperationException("one\ntwo"), (state, _) => state);
        Assert.Equal("2026-11-22T12:47:10.188713Z ERROR a.B: failed\n    System.InvalidOperationException: one\n    two\n", lines.Single());
    }

    [Fact]
    public void The_notice_of_dropped_lines_is_a_log_line()
    {
        using var provider = Provider(new ReadableFormatter(false, Time), []);
        Assert.Equal(
            "2026-11-22T12:47:10.188713Z  WARN Dynamo.Vllm.Worker.Logging.DynamoLoggerProvider: 7 lines of output were dropped here "
                + "because nobody read them in time\n",
            Encoding.UTF8.GetString(provider.DroppedNotice(7))
        );
    }

    private static string Line(ConsoleFormatter formatter, LogLevel level, string template, params object?[] values)
    {
        var lines = new List<string>();
        using var provider = Provider(formatter, lines);
#pragma warning disable CA1848, CA2254 // the template is the case
        provider.CreateLogger("a.B").Log(level, template, values);
#pragma warning restore CA1848, CA2254
        return lines.Single();
    }

    private static DynamoLoggerProvider Provider(ConsoleFormatter formatter, List<string> lines) =>
        new(
            new DynamoLogFilter("trace"),
            formatter,
            line =>
            {
                lines.Add(Encoding.UTF8.GetString(line));
                return true;
            }
        );
}
