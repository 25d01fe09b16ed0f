namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>One request and what became of it.</summary>
internal sealed class Attempt
{
    /// <summary>When it was sent, in seconds since the run began.</summary>
    public double Start { get; init; }

    /// <summary>How long it waited for others to end (<c>--max-concurrency</c>), in seconds.</summary>
    public double QueueTime { get; init; }

    /// <summary>From the sending to the first chunk with a choice, in seconds.</summary>
    public double FirstToken { get; set; }

    /// <summary>From the sending to the last chunk with a choice, in seconds.</summary>
    public double Latency { get; set; }

    /// <summary>From each chunk with a choice to the next one, in seconds.</summary>
    public List<double> Intervals { get; init; } = [];

    /// <summary>The server's count, else our own.</summary>
    public int PromptTokens { get; set; }

    /// <summary>The server's count; 1 where it does not tell it.</summary>
    public int OutputTokens { get; set; }

    /// <summary>Null for a success.</summary>
    public Failure? Failure { get; set; }

    /// <summary>Ctrl-C came before its end: neither a success nor a failure.</summary>
    public bool IsAbandoned { get; set; }

    public bool IsSuccess => Failure is null && !IsAbandoned;

    /// <summary>Time per token after the first; null for an answer of one.</summary>
    public double? TokenTime => OutputTokens > 1 ? (Latency - FirstToken) / (OutputTokens - 1) : null;
}
