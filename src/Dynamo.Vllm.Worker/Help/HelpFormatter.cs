using System.Text;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Help;

/// <summary>Lays out usage and help exactly as argparse's raw-text formatter does.</summary>
/// <remarks>Help texts are not wrapped, only split at their own line feeds; the usage is wrapped at the terminal width.</remarks>
internal sealed class HelpFormatter
{
    private const int HelpColumn = 24;
    private const int GroupIndent = 2;
    private const string UsagePrefix = "usage: ";

    private readonly int _width;

    /// <param name="columns">The terminal width; argparse keeps two columns free.</param>
    public HelpFormatter(int columns) => _width = columns - 2;

    /// <summary>The usage, without a final line feed.</summary>
    public string Usage(IReadOnlyList<OptionDefinition> options)
    {
        var parts = options.Where(option => !option.Hidden).Select(UsagePart).ToList();
        var oneLine = string.Join(' ', parts.Prepend(ProgramIdentity.Name));
        if (UsagePrefix.Length + oneLine.Length <= _width)
        {
            return UsagePrefix + oneLine;
        }

        // On a very narrow terminal the program name stands alone, and options start under it.
        var programFits = UsagePrefix.Length + ProgramIdentity.Name.Length <= 0.75 * _width;
        var indent = new string(' ', UsagePrefix.Length + (programFits ? ProgramIdentity.Name.Length + 1 : 0));
        return programFits
            ? string.Join('\n', Wrap(parts.Prepend(ProgramIdentity.Name), UsagePrefix, indent))
            : UsagePrefix + ProgramIdentity.Name + "\n" + string.Join('\n', Wrap(parts, indent, indent));
    }

    /// <summary>One titled group, ending in a line feed.</summary>
    public string Group(OptionGroup group)
    {
        var builder = new StringBuilder(group.Title).Append(":\n");
        foreach (var option in group.Options.Where(option => !option.Hidden))
        {
            AppendOption(builder, option);
        }

        return builder.ToString();
    }

    private static void AppendOption(StringBuilder builder, OptionDefinition option)
    {
        var header = new string(' ', GroupIndent) + Invocation(option);
        var lines = HelpLines(option);
        var next = 0;

        // The header shares its line with the help if two blanks are left between them.
        if (header.Length <= HelpColumn - 2)
        {
            builder.Append(header.PadRight(HelpColumn)).Append(lines[next++]).Append('\n');
        }
        else
        {
            builder.Append(header).Append('\n');
        }

        for (; next < lines.Length; next++)
        {
            builder.Append(' ', HelpColumn).Append(lines[next]).Append('\n');
        }
    }

    private static string[] HelpLines(OptionDefinition option)
    {
        var text = option.Replacement is null ? option.Help : $"{option.DeprecationOf(option.Flags[0])} {option.Help}";
        if (option.Environment is not null)
        {
            text += $"\nenv var: {option.Environment} | default: {PythonText.Display(option.Default)}";
        }

        if (option.ObsoleteFlag is not null)
        {
            text += $"\ndeprecating flag: {option.ObsoleteFlag}";
        }

        return (text ?? string.Empty).Split('\n');
    }

    private static string Invocation(OptionDefinition option) =>
        option.TakesValue ? string.Join(", ", option.Flags.Select(flag => $"{flag} {ValuePart(option)}")) : string.Join(", ", option.Flags);

    private static string UsagePart(OptionDefinition option) =>
        option.Kind switch
        {
            OptionKind.Boolean => $"[{string.Join(" | ", option.Flags)}]",
            OptionKind.Help or OptionKind.Version => $"[{option.Flags[0]}]",
            _ => $"[{option.Flags[0]} {ValuePart(option)}]",
        };

    private static string ValuePart(OptionDefinition option)
    {
        var name = option.Choices is { } choices
            ? "{" + string.Join(',', choices) + "}"
            : option.MetaVariable ?? option.Destination.ToUpperInvariant();
        return option.Kind switch
        {
            OptionKind.Words => $"[{name} ...]",
            OptionKind.StructuralTag => $"[{name}]",
            _ => name,
        };
    }

    private List<string> Wrap(IEnumerable<string> parts, string firstIndent, string indent)
    {
        var lines = new List<string>();
        var line = new StringBuilder(firstIndent);
        var empty = true;
        foreach (var part in parts)
        {
            if (!empty && line.Length + 1 + part.Length > _width)
            {
                lines.Add(line.ToString());
                line.Clear().Append(indent);
                empty = true;
            }

            line.Append(empty ? string.Empty : " ").Append(part);
            empty = false;
        }

        lines.Add(line.ToString());
        return lines;
    }
}
