namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>There is nothing to measure: one line for whoever runs it.</summary>
internal sealed class BenchException : Exception
{
    /// <param name="message">What is wrong, and what to do about it.</param>
    /// <param name="passes">It may be right a moment later.</param>
    public BenchException(string message, bool passes)
        : base(message) => Passes = passes;

    public bool Passes { get; }
}
