using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Engine;

/// <summary>What vLLM's parser made of its arguments.</summary>
/// <param name="Values">Of every engine argument.</param>
/// <param name="Model">As it was written. With the hub offline vLLM puts the model's folder into <paramref name="Values"/>.</param>
public sealed record ParsedArguments(JsonObject Values, string? Model);
