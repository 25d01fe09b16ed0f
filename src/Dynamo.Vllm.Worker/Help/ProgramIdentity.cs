namespace Dynamo.Vllm.Worker.Help;

/// <summary>How the program names itself.</summary>
public static class ProgramIdentity
{
    public const string Name = "dynamo-vllm";

    public const string Description = "Dynamo vLLM worker configuration";

    /// <summary>The Dynamo release whose command line and wire formats this worker speaks.</summary>
    public const string DynamoVersion = "1.6.1";

    /// <summary>The line of <c>--version</c>. Deployment scripts compare it, so it is the reference's, not ours.</summary>
    public const string VersionLine = "Dynamo Backend VLLM " + DynamoVersion;
}
