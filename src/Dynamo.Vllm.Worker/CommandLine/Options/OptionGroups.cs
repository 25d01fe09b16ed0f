namespace Dynamo.Vllm.Worker.CommandLine.Options;

/// <summary>The groups in the order of the help, and which parser each belongs to.</summary>
public static class OptionGroups
{
    public const string EngineTitle = "vLLM Engine Options. Please refer to vLLM documentation for more details.";

    /// <summary><c>--help</c> and <c>--version</c>, which argparse lists before every titled group.</summary>
    public static OptionGroup General { get; } = new("options", [Option.Help(), .. VllmOptionTable.All.Where(IsVersion)]);

    public static OptionGroup Runtime { get; } = new("Dynamo Runtime Options", RuntimeOptionTable.All);

    public static OptionGroup Vllm { get; } = new("Dynamo vLLM Options", [.. VllmOptionTable.All.Where(option => !IsVersion(option))]);

    public static OptionGroup Router { get; } =
        new(
            "Router Advertisement Options. Declared in this worker's model card to override the frontend's routing for this worker "
                + "set only.",
            RouterOptionTable.All
        );

    public static OptionGroup Host { get; } = new("Dynamo.Vllm Options", HostOptionTable.All);

    /// <summary>What the first parser knows, in the order of the usage line.</summary>
    public static IReadOnlyList<OptionDefinition> WorkerParser { get; } =
    [Option.Help(), .. RuntimeOptionTable.All, .. VllmOptionTable.All, .. HostOptionTable.All];

    /// <summary>What the second parser knows; it reads what the first one left.</summary>
    public static IReadOnlyList<OptionDefinition> RouterParser { get; } = RouterOptionTable.All;

    private static bool IsVersion(OptionDefinition option) => option.Kind == OptionKind.Version;
}
