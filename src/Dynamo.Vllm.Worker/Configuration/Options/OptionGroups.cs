namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>The groups in the order of the help, and which parser each belongs to.</summary>
public static class OptionGroups
{
    private static readonly OptionDefinition Help = Option.Help();

    public const string EngineTitle = "vLLM Engine Options. Please refer to vLLM documentation for more details.";

    /// <summary><c>--help</c> and <c>--version</c>, which argparse lists before every titled group.</summary>
    public static OptionGroup General { get; } = new("options", [Help, VllmOptions.Version]);

    public static OptionGroup Runtime { get; } = new("Dynamo Runtime Options", RuntimeOptions.All);

    public static OptionGroup Vllm { get; } =
        new("Dynamo vLLM Options", [.. VllmOptions.All.Where(option => option != VllmOptions.Version)]);

    public static OptionGroup Router { get; } =
        new(
            "Router Advertisement Options. Declared in this worker's model card to override the frontend's routing for this worker "
                + "set only.",
            RouterOptions.All
        );

    public static OptionGroup Host { get; } = new("Dynamo.Vllm Options", OwnOptions.All);

    /// <summary>What the first parser knows, in the order of the usage line.</summary>
    public static IReadOnlyList<OptionDefinition> WorkerParser { get; } =
    [Help, .. RuntimeOptions.All, .. VllmOptions.All, .. OwnOptions.All];

    /// <summary>What the second parser knows; it reads what the first one left.</summary>
    public static IReadOnlyList<OptionDefinition> RouterParser { get; } = RouterOptions.All;
}
