namespace Dynamo.Vllm.Testing;

/// <summary>A folder of its own for one test.</summary>
public sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("dynamo_test_").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
