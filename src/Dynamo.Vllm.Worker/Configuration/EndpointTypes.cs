namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>Which OpenAI endpoints a generation worker offers.</summary>
[Flags]
public enum EndpointTypes
{
    None = 0,
    Chat = 1,
    Completions = 2,
}
