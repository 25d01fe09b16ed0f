using Dynamo.Vllm.Core;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests.Core.Adapters;

public sealed class AdapterIdTests
{
    [Fact]
    public void Ids_are_those_of_the_official_binding()
    {
        var vectors = Golden.Json("llm/lora.json")["lora_id_vectors"]!.AsObject();
        Assert.NotEmpty(vectors);
        Assert.All(vectors, vector => Assert.Equal(vector.Value!.GetValue<int>(), AdapterId.Of(vector.Key)));
    }

    [Theory]
    [InlineData("abc", 944132403)]
    [InlineData("my-lora", 868637996)]
    [InlineData("p!", 2073211452)]
    public void Ids_are_those_that_the_official_worker_gave(string name, int id) => Assert.Equal(id, AdapterId.Of(name));

    [Theory]
    [InlineData("p", "'p'")]
    [InlineData("it's", "\"it's\"")]
    [InlineData("it's \"so\"", "'it\\'s \"so\"'")]
    [InlineData("a\n\\\u0001\u00e9\u2028", "'a\\n\\\\\\x01\u00e9\\u2028'")]
    public void Names_are_shown_as_python_shows_them(string text, string shown) => Assert.Equal(shown, PythonString.Represent(text));
}
