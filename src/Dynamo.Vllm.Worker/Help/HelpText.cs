using System.Text;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Help;

/// <summary>The text of <c>--help</c>: the reference's, with our own group at the end.</summary>
public static class HelpText
{
    private const int ColumnsWithoutTerminal = 80;

    /// <summary>Renders the help.</summary>
    /// <param name="environment">Read for <c>COLUMNS</c>.</param>
    /// <param name="engineSection">
    /// Delivers the vLLM group as argparse prints it, title line included; null when no vLLM can be asked.
    /// </param>
    public static string Render(IReadOnlyDictionary<string, string> environment, Func<string?> engineSection)
    {
        var formatter = new HelpFormatter(Columns(environment));
        var engine = engineSection()?.Trim('\n') ?? MissingEngineSection();
        return new StringBuilder(formatter.Usage(OptionGroups.WorkerParser))
            .Append("\n\n")
            .Append(ProgramIdentity.Description)
            .Append("\n\n")
            .Append(formatter.Group(OptionGroups.General))
            .Append('\n')
            .Append(formatter.Group(OptionGroups.Runtime))
            .Append('\n')
            .Append(formatter.Group(OptionGroups.Vllm))
            .Append('\n')
            .Append(engine)
            .Append("\n\n")
            .Append(formatter.Group(OptionGroups.Router))
            .Append('\n')
            .Append(formatter.Group(OptionGroups.Host))
            .ToString();
    }

    /// <summary>The terminal width by which usage texts are wrapped.</summary>
    internal static int Columns(IReadOnlyDictionary<string, string> environment) =>
        environment.TryGetValue("COLUMNS", out var text)
        && PythonText.TryParseInteger(text, out var columns)
        && columns is > 0 and <= 10_000
            ? (int)columns
            : ColumnsWithoutTerminal;

    private static string MissingEngineSection() =>
        OptionGroups.EngineTitle
        + ":\n"
        + "  (not shown: no Python with vLLM was found; point --python or DYN_VLLM_PYTHON at one, and this section lists its engine "
        + "options)";
}
