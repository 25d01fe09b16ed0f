using Dynamo.Vllm.Worker.StatusPage;

namespace Dynamo.Vllm.Worker.Tools;

/// <summary>One worker in the table of <c>top</c>.</summary>
/// <param name="Worker">Its address.</param>
/// <param name="State">What it does, or why it cannot be seen.</param>
/// <param name="Running">Requests that the engine works on; null where it does not tell.</param>
/// <param name="Sample">Since the look before; null where there was none.</param>
internal sealed record TopRow(string Worker, string State, double? Running, StatusSample? Sample);
