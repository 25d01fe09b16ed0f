using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Models;

namespace Dynamo.Vllm.UnitTests.Worker.Models;

/// <summary>Checksums of model files.</summary>
public sealed class ModelDirectoryTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("model").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(0)]
    [InlineData(131_071)]
    [InlineData(131_072)]
    [InlineData(1_000_003)]
    public void A_file_is_hashed_in_pieces_as_it_is_hashed_whole(int length)
    {
        var path = Path.Combine(_folder, "tokenizer.json");
        var content = new byte[length];
        new Random(length).NextBytes(content);
        File.WriteAllBytes(path, content);

        var file = ModelDirectory.Check(path);

        Assert.Equal(Blake3.Hasher.Hash(content).ToString(), file.Blake3);
        Assert.Equal(length, file.SizeBytes);
        Assert.Equal(path, file.Path);
    }

    [Fact]
    public void Hashing_a_large_file_takes_little_memory()
    {
        var path = Path.Combine(_folder, "tokenizer.json");
        File.WriteAllBytes(path, new byte[32 << 20]);
        _ = ModelDirectory.Check(path);

        var before = GC.GetAllocatedBytesForCurrentThread();
        _ = ModelDirectory.Check(path);

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    [Fact]
    public void A_file_that_cannot_be_read_is_named()
    {
        var path = Path.Combine(_folder, "none.json");
        var exception = Assert.Throws<ConfigurationException>(() => ModelDirectory.Check(path));
        Assert.Contains(path, exception.Message, StringComparison.Ordinal);
    }
}
