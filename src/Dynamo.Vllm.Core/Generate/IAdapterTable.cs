namespace Dynamo.Vllm.Core.Generate;

/// <summary>The LoRA adapters that are loaded now.</summary>
public interface IAdapterTable
{
    bool Contains(string name);
}
