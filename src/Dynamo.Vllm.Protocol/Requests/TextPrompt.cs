namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>What is to be continued: messages, a text, or token ids.</summary>
public sealed class TextPrompt
{
    /// <summary>The array of messages as JSON; null where there is another form.</summary>
    public ReadOnlyMemory<byte>? MessagesJson { get; init; }

    /// <summary>Variables for the chat template, each an object as JSON; a later one goes before an earlier one.</summary>
    public IReadOnlyList<ReadOnlyMemory<byte>> TemplateVariablesJson { get; init; } = [];

    public string? Text { get; init; }

    public int[] TokenIds { get; init; } = [];

    /// <summary>The client asked for a completion (<c>prompt</c>), and the answer has that form; otherwise that of a chat.</summary>
    public bool IsCompletion { get; init; }
}
