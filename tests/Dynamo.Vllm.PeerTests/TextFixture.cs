using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Workers that the frontend passes chats and completions on to as text.</summary>
public sealed class TextFixture : NamedPairFixture
{
    public const string Chat = "/v1/chat/completions";

    public const string Completion = "/v1/completions";

    public TextFixture()
        : base(Chat, TextCatalogue.Probe, ["--use-vllm-tokenizer"]) { }
}
