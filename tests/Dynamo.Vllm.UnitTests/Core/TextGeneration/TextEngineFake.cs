using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.UnitTests.Core.TextGeneration;

/// <summary>An engine whose texts a test pushes one by one.</summary>
internal sealed class TextEngineFake : ITextEngine
{
    public EngineDescription Description { get; } = new ScriptedEngine().Description;

    public List<TextEngineRequest> Requests { get; } = [];

    public ScriptedStream Stream { get; } = new();

    public IEngineStream Submit(TextEngineRequest request)
    {
        Requests.Add(request);
        return Stream;
    }

    public void Push(string text, int[] tokens, FinishReason finish = FinishReason.None, bool isLast = false, int index = 0) =>
        Stream.Push(tokens, finish, isLast, index, more: output => output.AppendText(System.Text.Encoding.UTF8.GetBytes(text)));
}
