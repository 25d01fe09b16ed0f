using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.RegularExpressions;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.Configuration;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.UnitTests.Worker;

/// <summary>docs/log-events.md says what the code can log and end with, and other pages cite events that exist.</summary>
public sealed partial class LogEventsPageTests
{
    private static readonly string[] Projects = ["Protocol", "Core", "Transports", "Python", "Engine", "Worker"];

    private const BindingFlags Declared =
        BindingFlags.Static | BindingFlags.Instance | BindingFlags.NonPublic | BindingFlags.Public | BindingFlags.DeclaredOnly;

    private readonly WrittenPage _page = new("log-events.md", "<!-- events: written by LogEventsPageTests, WRITE_DOCS=1 -->\n");

    [Fact]
    public void The_page_lists_every_exit_code_and_every_event_of_the_log()
    {
        var text = ExitCodeTable() + string.Concat(Projects.Where(project => Events(project).Any()).Select(EventTable));
        Assert.Equal(text, _page.Update(text));
    }

    [Fact]
    public void The_events_that_runbooks_name_exist()
    {
        var known = Projects.SelectMany(Events).Select(entry => entry.Event.EventId).ToHashSet();
        var cited = Cited()
            .Matches(File.ReadAllText(Path.Combine(SimulatedPaths.Root, "docs", "runbooks.md")))
            .Select(match => int.Parse(match.Value, CultureInfo.InvariantCulture))
            .ToHashSet();

        Assert.True(cited.Count > 20, $"{cited.Count} events");
        Assert.Empty(cited.Except(known));
    }

    private static string ExitCodeTable()
    {
        var source = File.ReadAllText(
            Path.Combine(SimulatedPaths.Root, "src", "Dynamo.Vllm.Worker", "Configuration", $"{nameof(ExitCodes)}.cs")
        );
        var codes = typeof(ExitCodes).GetFields(BindingFlags.Public | BindingFlags.Static).Where(field => field.IsLiteral).ToList();
        var words = Documented().Matches(source).ToDictionary(match => match.Groups[2].Value, match => match.Groups[1].Value);
        Assert.NotEmpty(codes);
        var text = new StringBuilder("\n## Exit codes\n\n| Code | |\n|---|---|\n");
        foreach (var code in codes)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {code.GetRawConstantValue()} | {Code().Replace(words[code.Name], "`$1`")} |\n");
        }

        return text.ToString();
    }

    private static string EventTable(string project)
    {
        var text = new StringBuilder($"\n## Dynamo.Vllm.{project}\n\n| Id | Level | Target | Name | Message |\n|---|---|---|---|---|\n");
        var events = Events(project).OrderBy(entry => entry.Event.EventId).ToList();
        foreach (var (method, entry) in events)
        {
            var target = method.DeclaringType!.FullName![$"Dynamo.Vllm.{project}.".Length..];
            var message = entry.Message.Replace("|", "\\|", StringComparison.Ordinal).Replace("*", "\\*", StringComparison.Ordinal);
            text.Append(CultureInfo.InvariantCulture, $"| {entry.EventId} | {entry.Level} | `{target}` | {method.Name} | {message} |\n");
        }

        return text.ToString();
    }

    private static IEnumerable<(MethodInfo Method, LoggerMessageAttribute Event)> Events(string project) =>
        Assembly
            .Load($"Dynamo.Vllm.{project}")
            .GetTypes()
            .SelectMany(type => type.GetMethods(Declared).Select(method => (method, method.GetCustomAttribute<LoggerMessageAttribute>()!)))
            .Where(entry => entry.Item2 is not null);

    [GeneratedRegex(@"/// <summary>(.*)</summary>\s+public const int (\w+) =")]
    private static partial Regex Documented();

    [GeneratedRegex("<c>(.*?)</c>")]
    private static partial Regex Code();

    // Events have four digits, and runbooks name nothing else that has.
    [GeneratedRegex(@"(?<![\w.])[2-5]\d{3}(?![\w.])")]
    private static partial Regex Cited();
}
