namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Something the reference can do and this worker cannot yet.</summary>
/// <param name="Flag">What asked for it: a flag or a variable.</param>
/// <param name="Reason">Half a sentence that follows the flag.</param>
public sealed record UnsupportedFeature(string Flag, string Reason)
{
    public override string ToString() => $"{Flag}: {Reason}";
}
